"""What the page shows, read from the project's own tables; each function returns what ``json.dumps`` takes."""
