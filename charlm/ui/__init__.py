"""The browser's side: one file per tab, `demo.py` for the frame. The only package that imports gradio."""
