//! Reads the lines of a pipe.

use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};

/// Reads lines in bounded memory: bytes that are not UTF-8 are replaced, and long lines are cut and end with
/// an ellipsis.
pub(super) struct Lines<R> {
    reader: BufReader<R>,
    buffer: Vec<u8>,
    max_line: usize,
    /// Whether the end of the line in the buffer was dropped.
    is_cut: bool,
    pub(super) ended: bool,
}

/// A longer line is returned with the memory of the buffer, instead of a copy.
const LONG_LINE: usize = 64 * 1024;

impl<R: AsyncRead + Unpin> Lines<R> {
    pub(super) fn new(reader: R, max_line: usize) -> Self {
        Self {
            reader: BufReader::with_capacity(64 * 1024, reader),
            buffer: Vec::new(),
            max_line,
            is_cut: false,
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
            self.is_cut |= text.len() > room;
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
        let mut line = if self.buffer.len() > LONG_LINE {
            String::from_utf8(std::mem::take(&mut self.buffer))
                .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
        } else {
            let line = String::from_utf8_lossy(&self.buffer).into_owned();
            self.buffer.clear();
            line
        };
        if std::mem::take(&mut self.is_cut) {
            line.push('…');
        }
        line
    }
}
