"""How the harness talks to the world: one folder per port, one file per adapter."""
