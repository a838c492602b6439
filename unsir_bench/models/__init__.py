"""AllCNN, and wrappers around torchvision and timm."""
