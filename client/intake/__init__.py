"""From a clinical table and a site's CTs to the cohort it trains on: who is in, who is out and why."""
