"""CS671 (IIT Mandi), assignment 2 (2022)."""
