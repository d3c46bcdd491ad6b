"""How a site's CTs were acquired, as codes and numbers that no outcome is part of."""
