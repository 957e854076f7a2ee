"""What the page shows, a module for each of its sections: numbers → words and drawings."""
