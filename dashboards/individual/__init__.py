"""For the people who asked to be told: confirm, see how things stand, withdraw."""
