"""What runs inside the engine's environment, with torch and one unpacked vLLM release importable; it writes no files
except the result that its parent asked for.
"""
