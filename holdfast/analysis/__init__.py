"""From pictures' scores to the study's numbers: tables, persistence, rates, costs."""
