"""Decides who it is: the gallery of enrolled people, the cut, the decision, the alert."""
