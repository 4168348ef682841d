"""Pure: decide, fold, presets, storm arithmetic, scopes, suppressions, hook events."""
