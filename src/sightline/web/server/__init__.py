"""What every page of Sightline in a browser shares: a guarded server, pixels as bytes, modules of the front end."""
