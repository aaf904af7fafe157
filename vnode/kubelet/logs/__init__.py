"""/containerLogs: what containers wrote, the last lines of removed ones included."""
