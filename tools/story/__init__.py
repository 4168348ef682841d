"""The story that the demo tells: a stage to play it on, a teller that checks each line, and its scenes."""
