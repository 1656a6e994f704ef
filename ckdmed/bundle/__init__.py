"""What the bundle configurations call: settings, data and overrides."""
