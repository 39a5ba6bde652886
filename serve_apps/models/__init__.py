"""Models down: a catalogue that sites prove, and the artifacts it names."""
