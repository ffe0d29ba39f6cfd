"""The browser's side: a folder for each tab, `app.py` for the frame. The only package that imports gradio."""
