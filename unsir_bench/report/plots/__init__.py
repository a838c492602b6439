"""What plots show, prepared once: the page draws it with Plotly, the figures for print with matplotlib."""
