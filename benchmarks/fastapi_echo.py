"""An unmodified FastAPI endpoint, as in FastAPI's documentation."""

from fastapi import FastAPI, WebSocket

app = FastAPI()


@app.get("/")
async def hello():
    return "hello"


@app.websocket("/echo")
async def echo(websocket: WebSocket):
    await websocket.accept()
    while True:
        await websocket.send_text(await websocket.receive_text())
