"""The lab: a private Postfix, a scripted destination server and swaks, for the demo and the tests."""
