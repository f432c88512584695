"""A page of HTML, complete in itself, on which trajectories are watched step by step."""

from lit_unmask.inspection.viewer.builder import viewer_html, write_viewer
