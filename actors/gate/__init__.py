"""Room of the gate: the recipe that decides, and the shell that runs it."""
