"""What a policy saw and did: traces, figures' numbers, trajectories of single problems."""
