"""From the study's tables to figures and pages."""
