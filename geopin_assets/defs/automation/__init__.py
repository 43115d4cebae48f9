"""When assets are made: conditions and sensors, jobs and schedules, and who is told when a run fails."""
