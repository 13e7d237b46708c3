"""The ground floor: what is kept, and the few things every other room stands on."""

from vault.quiet import silence

silence()
