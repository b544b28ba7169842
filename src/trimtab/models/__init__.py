"""Loading a pretrained model by name, checking that it is whole, and the depth map that every strategy reads."""
