"""What starts by itself: refresh by age, following by content, jobs, sensors and alerts."""
