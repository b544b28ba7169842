"""Fine-tuning strategies, one file each: what trains, and at which learning rate."""
