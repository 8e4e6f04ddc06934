"""Speed and accuracy of Holdfast beside the code that it stands in for."""
