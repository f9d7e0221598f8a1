//! Reads the lines of a pipe.

use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};

/// Reads lines in bounded memory: bytes that are not UTF-8 are replaced, and long lines are cut.
pub(super) struct Lines<R> {
    reader: BufReader<R>,
    buffer: Vec<u8>,
    max_line: usize,
    pub(super) ended: bool,
}

impl<R: AsyncRead + Unpin> Lines<R> {
    pub(super) fn new(reader: R, max_line: usize) -> Self {
        Self {
            reader: BufReader::with_capacity(64 * 1024, reader),
            buffer: Vec::new(),
            max_line,
            ended: false,
        }
    }

    /// The next line without its line break; `None` at the end of the pipe. Cancel-safe: the buffer keeps
    /// incomplete lines.
    pub(super) async fn next(&mut self) -> std::io::Result<Option<String>> {
        loop {
            let chunk = self.reader.fill_buf().await?;
            if chunk.is_empty() {
                self.ended = true;
                return Ok((!self.buffer.is_empty()).then(|| self.take()));
            }
            let (used, complete) = match chunk.iter().position(|byte| *byte == b'\n') {
                Some(end) => (end + 1, true),
                None => (chunk.len(), false),
            };
            let room = self.max_line.saturating_sub(self.buffer.len());
            let text = &chunk[..used - usize::from(complete)];
            self.buffer.extend_from_slice(&text[..text.len().min(room)]);
            self.reader.consume(used);
            if complete {
                return Ok(Some(self.take()));
            }
        }
    }

    fn take(&mut self) -> String {
        if self.buffer.last() == Some(&b'\r') {
            self.buffer.pop();
        }
        let line = String::from_utf8_lossy(&self.buffer).into_owned();
        self.buffer.clear();
        line
    }
}
