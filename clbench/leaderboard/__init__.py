"""From records to the leaderboard."""
