"""What breaks runs, looked for before they start: one module a group of checks, none of which changes anything."""
