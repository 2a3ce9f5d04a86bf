"""Texts that other programs made: scored as they are, or put on the leaderboard beside models that were run here."""
