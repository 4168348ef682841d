"""The story that the demo tells: a stage to play it on, a teller who checks each line, and its scenes."""
