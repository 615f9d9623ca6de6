"""The leaderboard: rows from records, and tables and `Results` from rows."""
