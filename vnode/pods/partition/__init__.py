"""A compute link that is lost: what pods want then, and the fence lists."""
