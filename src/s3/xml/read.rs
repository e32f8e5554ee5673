//! Reads small XML documents, element by element, under caps: size, depth, no document type, only the five entities.

use quick_xml::Reader;
use quick_xml::events::{BytesDecl, BytesRef, Event};

use super::super::error::{Code, S3Error};
use super::{DEPTH_MAX, DOCUMENT_BYTES_MAX};

/// One element below the root that has ended.
pub(super) struct Node<'a> {
    /// The names from below the root down to the element, without namespace prefixes.
    pub(super) path: &'a [&'a str],
    /// Its text as it stands, if it held no element.
    pub(super) text: Option<String>,
}

/// Visits every element below `root` when it ends, children first.
///
/// # Errors
/// The visitor's, else `MalformedXML`; `MaxMessageLengthExceeded` over [`DOCUMENT_BYTES_MAX`].
pub(super) fn walk(
    body: &[u8],
    root: &str,
    visit: impl FnMut(Node<'_>) -> Result<(), S3Error>,
) -> Result<(), S3Error> {
    if body.len() > DOCUMENT_BYTES_MAX {
        return Err(Code::MaxMessageLengthExceeded.into());
    }
    let text = std::str::from_utf8(body).map_err(|_| Code::MalformedXml)?;
    let mut reader = Reader::from_str(text.strip_prefix('\u{feff}').unwrap_or(text));
    reader.config_mut().expand_empty_elements = true;
    let mut walk = Walk { root, open: Vec::new(), ended: false, visit };
    loop {
        match reader.read_event().map_err(|_| Code::MalformedXml)? {
            Event::Start(start) => walk.start(start.local_name().as_ref())?,
            // The reader has compared the names of both ends.
            Event::End(_) => walk.end()?,
            Event::Text(text) => walk.characters(&text.xml10_content())?,
            Event::CData(data) if !walk.open.is_empty() => walk.characters(&data.xml10_content())?,
            Event::GeneralRef(reference) if !walk.open.is_empty() => {
                walk.characters(resolve(&reference)?.encode_utf8(&mut [0; 4]))?;
            }
            Event::Decl(decl) if walk.open.is_empty() && !walk.ended => check_encoding(&decl)?,
            Event::Comment(_) => {}
            Event::Eof if walk.ended => return Ok(()),
            // A document type, a processing instruction, an end too early.
            _ => return Err(Code::MalformedXml.into()),
        }
    }
}

/// An element that has started and not ended.
struct Open {
    name: String,
    text: String,
    has_children: bool,
}

/// The state of one walk.
struct Walk<'a, V> {
    root: &'a str,
    open: Vec<Open>,
    ended: bool,
    visit: V,
}

impl<V: FnMut(Node<'_>) -> Result<(), S3Error>> Walk<'_, V> {
    fn start(&mut self, name: &str) -> Result<(), S3Error> {
        match self.open.last_mut() {
            None if self.ended || name != self.root => return Err(Code::MalformedXml.into()),
            None => {}
            Some(parent) if is_blank(&parent.text) => {
                parent.text.clear();
                parent.has_children = true;
            }
            // None of the documents mixes text and elements.
            Some(_) => return Err(Code::MalformedXml.into()),
        }
        if self.open.len() >= DEPTH_MAX {
            return Err(Code::MalformedXml.into());
        }
        self.open.push(Open { name: name.to_owned(), text: String::new(), has_children: false });
        Ok(())
    }

    fn end(&mut self) -> Result<(), S3Error> {
        let names: Vec<&str> = self.open.iter().skip(1).map(|open| open.name.as_str()).collect();
        let Some(ending) = self.open.last() else { return Err(Code::MalformedXml.into()) };
        if ending.has_children && !is_blank(&ending.text) {
            return Err(Code::MalformedXml.into());
        }
        if !names.is_empty() {
            let text = (!ending.has_children).then(|| ending.text.clone());
            (self.visit)(Node { path: &names, text })?;
        } else if !ending.has_children && !is_blank(&ending.text) {
            return Err(Code::MalformedXml.into());
        }
        self.open.pop();
        self.ended = self.open.is_empty();
        Ok(())
    }

    fn characters(&mut self, text: &str) -> Result<(), S3Error> {
        match self.open.last_mut() {
            Some(open) => open.text.push_str(text),
            None if is_blank(text) => {}
            None => return Err(Code::MalformedXml.into()),
        }
        Ok(())
    }
}

/// What XML calls white space (XML 1.0 §2.3).
fn is_blank(text: &str) -> bool {
    text.bytes().all(|b| matches!(b, b' ' | b'\t' | b'\r' | b'\n'))
}

/// A character reference or one of the five entities; any other would need a document type.
fn resolve(reference: &BytesRef<'_>) -> Result<char, S3Error> {
    if let Some(character) = reference.resolve_char_ref().map_err(|_| Code::MalformedXml)? {
        return Ok(character);
    }
    match reference.as_ref() {
        "amp" => Ok('&'),
        "lt" => Ok('<'),
        "gt" => Ok('>'),
        "quot" => Ok('"'),
        "apos" => Ok('\''),
        _ => Err(Code::MalformedXml.into()),
    }
}

/// UTF-8 or no word of it: nothing else is decoded.
fn check_encoding(decl: &BytesDecl<'_>) -> Result<(), S3Error> {
    match decl.encoding() {
        None => Ok(()),
        Some(Ok(encoding)) if encoding.eq_ignore_ascii_case("utf-8") => Ok(()),
        Some(_) => Err(Code::MalformedXml.into()),
    }
}
