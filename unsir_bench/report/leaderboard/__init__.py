"""The leaderboard: methods ranked by their distance to retraining, as a folder of files that opens from disk."""
