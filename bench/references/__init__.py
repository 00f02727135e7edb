"""What Vedette is measured against: a naive worker, and the bare calls that nothing can undercut."""
