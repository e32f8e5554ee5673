//! Writes XML documents as S3 does: one line, the S3 namespace, text escaped.

use bytes::Bytes;

/// The namespace of every document but `<Error>` (S3 API reference).
pub const NAMESPACE: &str = "http://s3.amazonaws.com/doc/2006-03-01/";

/// A document under construction. Elements are closed by [`Writer::nest`], so they always balance.
#[derive(Debug)]
pub(in crate::s3) struct Writer {
    out: String,
    root: &'static str,
}

impl Writer {
    /// Opens a document in the S3 namespace.
    pub(in crate::s3) fn document(root: &'static str) -> Self {
        let mut writer = Self::declared(root);
        for text in ["<", root, " xmlns=\"", NAMESPACE, "\">"] {
            writer.out.push_str(text);
        }
        writer
    }

    /// Opens a document without namespace: `<Error>` only.
    pub(in crate::s3) fn document_without_namespace(root: &'static str) -> Self {
        let mut writer = Self::declared(root);
        writer.open(root);
        writer
    }

    fn declared(root: &'static str) -> Self {
        Self { out: String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"), root }
    }

    /// `<name>value</name>`
    pub(in crate::s3) fn text(&mut self, name: &str, value: &str) -> &mut Self {
        self.open(name);
        self.characters(value);
        self.close(name);
        self
    }

    /// `<name>` around whatever `inside` writes.
    pub(in crate::s3) fn nest(&mut self, name: &str, inside: impl FnOnce(&mut Self)) -> &mut Self {
        self.open(name);
        inside(self);
        self.close(name);
        self
    }

    /// Text directly inside the element that is open.
    pub(in crate::s3) fn characters(&mut self, value: &str) -> &mut Self {
        for c in value.chars() {
            match c {
                '&' => self.out.push_str("&amp;"),
                '<' => self.out.push_str("&lt;"),
                '>' => self.out.push_str("&gt;"),
                '"' => self.out.push_str("&quot;"),
                // A parser would turn these into others (XML 1.0 §2.11, §3.3.3) unless they are references.
                '\r' => self.out.push_str("&#13;"),
                // What XML 1.0 forbids even as a reference (§2.2). S3 writes the reference regardless, and lenient
                // parsers read it; `encoding-type=url` is the way to list such keys with a strict one.
                c if c.is_control() && !matches!(c, '\t' | '\n') || matches!(c, '\u{fffe}' | '\u{ffff}') => {
                    self.out.push_str("&#");
                    self.out.push_str(&u32::from(c).to_string());
                    self.out.push(';');
                }
                c => self.out.push(c),
            }
        }
        self
    }

    /// Closes the root and hands the document out.
    pub(in crate::s3) fn finish(mut self) -> Bytes {
        self.close(self.root);
        Bytes::from(self.out)
    }

    fn open(&mut self, name: &str) {
        self.out.push('<');
        self.out.push_str(name);
        self.out.push('>');
    }

    fn close(&mut self, name: &str) {
        self.out.push_str("</");
        self.out.push_str(name);
        self.out.push('>');
    }
}
