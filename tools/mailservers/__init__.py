"""Real mail servers that make the reports in tests/bounces/fixtures."""
