//! What well-known functions do with a value.

use super::UseKind;

/// What a call does with a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Effect {
    /// It makes something else of it.
    Converts(UseKind),
    /// It takes it as this.
    Takes(UseKind),
    /// Its argument is the default.
    Defaults,
    /// It fails where there is nothing.
    Raises,
    /// It compares it with its argument.
    Compares,
    /// It gives the same value, or nearly.
    Passes,
    /// Nobody knows.
    Nothing,
}

/// What a function does with its argument at this position.
pub(super) fn of_argument(function: &[u8], position: usize) -> Effect {
    let last = last_word(function);
    match (last, position) {
        (
            b"int" | b"float" | b"parseInt" | b"parseFloat" | b"Number" | b"Integer" | b"Float"
            | b"Atoi" | b"ParseInt" | b"ParseUint" | b"ParseFloat" | b"intval" | b"floatval"
            | b"parseLong" | b"parseShort" | b"parseUnsignedInt" | b"BigInt" | b"Decimal"
            | b"from_str_radix",
            0,
        ) => Effect::Converts(UseKind::Number),
        (b"valueOf", 0) if starts_with_any(function, &[b"Integer", b"Long", b"Short"]) => {
            Effect::Converts(UseKind::Number)
        }
        (b"valueOf", 0) if function.starts_with(b"Boolean") => Effect::Converts(UseKind::Boolean),
        (b"bool" | b"parseBoolean" | b"ParseBool" | b"boolval" | b"strtobool", 0) => {
            Effect::Converts(UseKind::Boolean)
        }
        (
            b"Path" | b"PathBuf" | b"Pathname" | b"open" | b"fopen" | b"readFileSync" | b"readFile"
            | b"ReadFile" | b"FileReader" | b"FileInputStream" | b"read_to_string"
            | b"file_get_contents" | b"File" | b"isfile" | b"isdir" | b"existsSync",
            0,
        ) => Effect::Takes(UseKind::Path),
        (b"join" | b"resolve" | b"Join", _) if contains_any(function, &[b"path", b"Path"]) => {
            Effect::Takes(UseKind::Path)
        }
        (
            b"URL"
            | b"URI"
            | b"urlparse"
            | b"urlsplit"
            | b"parse_url"
            | b"fetch"
            | b"urlopen"
            | b"from_url"
            | b"create_engine"
            | b"MongoClient"
            | b"ParseRequestURI"
            | b"create_async_engine",
            0,
        ) => Effect::Takes(UseKind::Url),
        (b"get" | b"post" | b"put" | b"Get" | b"Post", 0)
            if starts_with_any(
                function,
                &[
                    b"requests.",
                    b"httpx.",
                    b"axios.",
                    b"http.",
                    b"https.",
                    b"got.",
                ],
            ) =>
        {
            Effect::Takes(UseKind::Url)
        }
        (b"connect", 0)
            if starts_with_any(
                function,
                &[b"mongoose", b"MongoClient", b"mongodb", b"amqp"],
            ) =>
        {
            Effect::Takes(UseKind::Url)
        }
        (b"Parse", 0) if starts_with_any(function, &[b"url."]) => Effect::Takes(UseKind::Url),
        (
            b"Socket" | b"TCPSocket" | b"InetSocketAddress" | b"HTTPConnection" | b"fsockopen"
            | b"JoinHostPort",
            0,
        ) => Effect::Takes(UseKind::Host),
        (b"listen", 0)
        | (
            b"Socket" | b"TCPSocket" | b"InetSocketAddress" | b"HTTPConnection" | b"fsockopen"
            | b"JoinHostPort",
            1,
        ) => Effect::Takes(UseKind::Port),
        (
            b"str" | b"String" | b"trim" | b"strip" | b"Some" | b"Ok" | b"TrimSpace" | b"ToLower"
            | b"ToUpper" | b"strtolower" | b"ofNullable" | b"requireNonNull" | b"strval"
            | b"Optional",
            0,
        ) => Effect::Passes,
        _ => Effect::Nothing,
    }
}

/// What a method does with the value that it is called on.
pub(super) fn of_method(function: &[u8]) -> Effect {
    match last_word(function) {
        b"to_i" | b"to_f" | b"toInt" | b"toLong" | b"toShort" | b"toIntOrNull" | b"intValue"
        | b"toDouble" | b"toNumber" => Effect::Converts(UseKind::Number),
        b"toBoolean" | b"toBooleanStrict" => Effect::Converts(UseKind::Boolean),
        b"parse" => match kind_of_type(type_argument(function)) {
            Some(kind) => Effect::Converts(kind),
            None => Effect::Passes,
        },
        b"unwrap_or" | b"unwrap_or_else" | b"unwrap_or_default" | b"orElse" | b"orElseGet"
        | b"getOrElse" | b"getOrDefault" | b"ifEmpty" | b"ifBlank" | b"presence_or" => {
            Effect::Defaults
        }
        b"unwrap" | b"expect" | b"orElseThrow" => Effect::Raises,
        b"equals" | b"equalsIgnoreCase" | b"eq_ignore_ascii_case" | b"eql?" | b"casecmp?" => {
            Effect::Compares
        }
        b"trim"
        | b"strip"
        | b"lower"
        | b"upper"
        | b"toLowerCase"
        | b"toUpperCase"
        | b"downcase"
        | b"lowercase"
        | b"to_lowercase"
        | b"to_ascii_lowercase"
        | b"to_string"
        | b"to_owned"
        | b"toString"
        | b"to_s"
        | b"as_str"
        | b"as_deref"
        | b"clone"
        | b"ok"
        | b"as_ref"
        | b"casefold"
        | b"rstrip"
        | b"chomp"
        | b"into"
        | b"map_err" => Effect::Passes,
        _ => Effect::Nothing,
    }
}

/// Whether a function's first text is a format with values behind it.
pub(super) fn is_format(last_word: &[u8]) -> bool {
    matches!(
        last_word,
        b"format"
            | b"sprintf"
            | b"printf"
            | b"Sprintf"
            | b"Printf"
            | b"Fprintf"
            | b"Errorf"
            | b"fprintf"
            | b"vsprintf"
            | b"Fatalf"
    )
}

/// What a type says of a value that is made into it.
pub(super) fn kind_of_type(name: &[u8]) -> Option<UseKind> {
    match name {
        b"int" | b"Int" | b"integer" | b"Integer" | b"long" | b"Long" | b"short" | b"Short"
        | b"(int)" | b"u8" | b"u16" | b"u32" | b"u64" | b"usize" | b"i16" | b"i32" | b"i64"
        | b"isize" | b"int32" | b"int64" | b"uint16" | b"uint32" | b"uint64" | b"uint"
        | b"float" | b"f32" | b"f64" | b"double" => Some(UseKind::Number),
        b"bool" | b"boolean" | b"Boolean" => Some(UseKind::Boolean),
        b"PathBuf" | b"Path" | b"File" => Some(UseKind::Path),
        b"Url" | b"URL" | b"URI" | b"Uri" => Some(UseKind::Url),
        _ => None,
    }
}

/// The last name of what is called, without the types that it is called with.
pub(super) fn last_word(function: &[u8]) -> &[u8] {
    let plain = match function.iter().rposition(|byte| *byte == b'>') {
        Some(end) if end + 1 == function.len() => {
            let start = function
                .iter()
                .rposition(|byte| *byte == b'<')
                .unwrap_or(end);
            function.get(..start).unwrap_or_default()
        }
        _ => function,
    };
    let plain = plain.strip_suffix(b"::").unwrap_or(plain);
    let is_part = |byte: &u8| !(byte.is_ascii_alphanumeric() || matches!(*byte, b'_' | b'?'));
    let start = plain.iter().rposition(is_part).map_or(0, |at| at + 1);
    plain.get(start..).unwrap_or_default()
}

/// `u16` of `parse::<u16>`.
fn type_argument(function: &[u8]) -> &[u8] {
    let Some(function) = function.strip_suffix(b">") else {
        return b"";
    };
    let start = function
        .iter()
        .rposition(|byte| *byte == b'<')
        .map_or(0, |at| at + 1);
    function.get(start..).unwrap_or_default()
}

fn starts_with_any(text: &[u8], beginnings: &[&[u8]]) -> bool {
    beginnings
        .iter()
        .any(|beginning| text.starts_with(beginning))
}

fn contains_any(text: &[u8], parts: &[&[u8]]) -> bool {
    parts
        .iter()
        .any(|part| bstr::ByteSlice::contains_str(text, part))
}
