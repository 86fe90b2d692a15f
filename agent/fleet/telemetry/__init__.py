"""What the device tells of itself: sampled, kept until it has arrived, sent in batches."""
