//! How a value is used: up the tree from where it is read, and one step along the variable that gets it.

use std::{cell::OnceCell, collections::HashMap, time::Instant};

use bstr::{BString, ByteSlice as _};
use tree_sitter::{Node, Tree};

use super::{
    Language, ShownBy, UseKind,
    calls::{self, Effect},
    format::{self, Style, Which},
    gathered::{Gathered, is_yes_or_no},
    literal,
    nodes::{
        calling, function_of, is_inside, is_written, line, name_in, operator, receiver_of,
        rightmost, scope,
    },
    past,
};

/// Nothing that somebody wrote is deeper.
const HIGHEST: usize = 32;
/// The places at which a variable is looked at.
const MOST_SITES: usize = 200;
/// Where the index keeps Rust's formats.
const FORMATS: &[u8] = b"{}";

/// The uses within one file.
pub(super) struct Uses<'a> {
    language: Language,
    content: &'a [u8],
    tree: &'a Tree,
    deadline: Instant,
    /// Where each name stands.
    sites: OnceCell<HashMap<&'a [u8], Vec<Node<'a>>>>,
}

/// What to do behind a step.
enum Step<'a> {
    /// Go on from this node.
    Up(Node<'a>),
    /// The value gets this variable.
    Bound(Node<'a>),
    Stop,
}

impl<'a> Uses<'a> {
    pub(super) fn new(
        language: Language,
        content: &'a [u8],
        tree: &'a Tree,
        deadline: Instant,
    ) -> Self {
        Self {
            language,
            content,
            tree,
            deadline,
            sites: OnceCell::new(),
        }
    }

    /// How the value of an expression is used.
    pub(super) fn of_expression(&self, node: Node<'a>, gathered: &mut Gathered) {
        if let Some(binding) = self.climb(node, gathered) {
            self.of_binding(binding, gathered);
        }
    }

    /// How a variable's value is used: its name, and the places where it stands.
    pub(super) fn of_binding(&self, binding: Node<'a>, gathered: &mut Gathered) {
        let name = self.text(binding);
        gathered.binding(name, line(binding));
        if matches!(binding.kind(), "field_identifier" | "property_identifier") {
            return;
        }
        let scope = scope(binding);
        let sites = self.sites.get_or_init(|| self.index());
        for site in sites.get(name).into_iter().flatten().take(MOST_SITES) {
            if past(self.deadline).is_break() {
                return;
            }
            if !is_inside(*site, scope) || site.id() == binding.id() || is_written(*site) {
                continue;
            }
            if site.kind() == "string_content" {
                self.in_kotlin_text(*site, name.len(), gathered);
            } else {
                self.climb(*site, gathered);
            }
        }
        if self.language == Language::Rust {
            self.of_inline_formats(name, scope, gathered);
        }
    }

    /// `$name` in a text of Kotlin: the node is the sign alone.
    fn in_kotlin_text(&self, sign: Node<'a>, length: usize, gathered: &mut Gathered) {
        let Some(text) = sign.parent() else { return };
        let inner = text.start_byte() + 1..text.end_byte().saturating_sub(1);
        let before = self.content.get(inner.start..sign.start_byte());
        let after = self.content.get(sign.end_byte() + length..inner.end);
        if let Some(kind) = format::between(before.unwrap_or_default(), after.unwrap_or_default()) {
            gathered.add(kind, ShownBy::Format, line(sign));
        }
    }

    /// `{name}` in Rust's formats.
    fn of_inline_formats(&self, name: &[u8], scope: Node<'a>, gathered: &mut Gathered) {
        let sites = self.sites.get_or_init(|| self.index());
        let formats = sites.get(FORMATS).into_iter().flatten();
        for text in formats
            .filter(|text| is_inside(**text, scope))
            .take(MOST_SITES)
        {
            self.formatted(
                Some(*text),
                Style::Braces,
                Which::Named(name),
                line(*text),
                gathered,
            );
        }
    }

    fn index(&self) -> HashMap<&'a [u8], Vec<Node<'a>>> {
        let mut sites: HashMap<&[u8], Vec<Node<'_>>> = HashMap::new();
        let mut cursor = self.tree.walk();
        loop {
            let node = cursor.node();
            if let Some(name) = self.site_name(node) {
                sites.entry(name).or_default().push(node);
            }
            if cursor.goto_first_child() || cursor.goto_next_sibling() {
                continue;
            }
            loop {
                if !cursor.goto_parent() || past(self.deadline).is_break() {
                    return sites;
                }
                if cursor.goto_next_sibling() {
                    break;
                }
            }
        }
    }

    /// The variable that stands here.
    fn site_name(&self, node: Node<'_>) -> Option<&'a [u8]> {
        match node.kind() {
            "identifier"
            | "variable_name"
            | "constant"
            | "instance_variable"
            | "global_variable"
            | "shorthand_property_identifier" => Some(self.text(node)),
            // The grammar of Kotlin has no node for `$name` in a text.
            "string_content" if self.language == Language::Kotlin => {
                literal::kotlin_name(self.content, node)
            }
            // Nor has that of Rust for `{name}`: the formats are kept, under a name that no variable has.
            "string_literal" if self.language == Language::Rust => {
                let parent = node.parent()?;
                (parent.kind() == "token_tree").then_some(FORMATS)
            }
            _ => None,
        }
    }

    /// Climbs until something says what the value is used for; gives the variable that gets it.
    fn climb(&self, start: Node<'a>, gathered: &mut Gathered) -> Option<Node<'a>> {
        let mut node = start;
        for _ in 0..HIGHEST {
            let parent = node.parent()?;
            match self.step(node, parent, gathered) {
                Step::Up(next) => node = next,
                Step::Bound(binding) => return Some(binding),
                Step::Stop => return None,
            }
        }
        None
    }

    fn step(&self, node: Node<'a>, parent: Node<'a>, gathered: &mut Gathered) -> Step<'a> {
        match parent.kind() {
            "parenthesized_expression"
            | "await_expression"
            | "await"
            | "non_null_expression"
            | "as_expression"
            | "satisfies_expression"
            | "reference_expression"
            | "try_expression"
            | "error_suppression_expression"
            | "literal_element"
            | "generic_function"
            | "binary_in" => Step::Up(parent),
            "expression_list" => of_list(node, parent),
            "unary_expression" | "unary_op_expression" | "unary_operator" => {
                self.unary(parent, gathered)
            }
            "boolean_operator"
            | "binary_expression"
            | "binary"
            | "binary_operator"
            | "comparison_operator" => self.binary(node, parent, gathered),
            "conditional_expression" | "ternary_expression" | "conditional" | "if_expression" => {
                self.conditional(node, parent, gathered)
            }
            "cast_expression" | "type_cast_expression" => {
                if let Some(kind) = parent.child_by_field_name("type") {
                    gathered.typed(self.text(kind), line(parent));
                }
                Step::Up(parent)
            }
            "argument_list" | "arguments" | "value_arguments" => {
                self.argument(node, parent, gathered)
            }
            "argument" | "value_argument" => self.wrapped_argument(node, parent, gathered),
            "token_tree" => self.macro_argument(node, parent, gathered),
            "tuple" => self.tuple(node, parent, gathered),
            "attribute"
            | "member_expression"
            | "field_expression"
            | "selector_expression"
            | "navigation_expression"
            | "method_invocation"
            | "call"
            | "member_call_expression" => self.method(node, parent, gathered),
            "keyword_argument"
            | "pair"
            | "keyed_element"
            | "field_initializer"
            | "array_element_initializer"
            | "hash_splat_argument" => {
                self.keyed(node, parent, gathered);
                Step::Stop
            }
            "interpolation" | "template_substitution" => {
                self.in_text(parent, gathered);
                Step::Stop
            }
            "encapsed_string"
            | "string"
            | "concatenation"
            | "heredoc_body"
            | "string_literal"
            | "multiline_string_literal" => {
                self.in_text(node, gathered);
                Step::Stop
            }
            "variable_declarator"
            | "assignment"
            | "assignment_expression"
            | "short_var_declaration"
            | "assignment_statement"
            | "var_spec"
            | "const_spec"
            | "let_declaration"
            | "let_condition"
            | "property_declaration"
            | "variable_assignment"
            | "const_item"
            | "static_item"
            | "operator_assignment"
            | "augmented_assignment"
            | "field_definition"
            | "public_field_definition"
            | "property_element"
            | "named_expression"
            | "typed_default_parameter"
            | "default_parameter" => bound(node, parent),
            _ => Step::Stop,
        }
    }

    fn unary(&self, parent: Node<'a>, gathered: &mut Gathered) -> Step<'a> {
        // `!x` asks whether it is there; `+x` makes a number of it.
        if self.text(parent).starts_with(b"+") {
            gathered.add(UseKind::Number, ShownBy::Conversion, line(parent));
            return Step::Up(parent);
        }
        Step::Stop
    }

    fn binary(&self, node: Node<'a>, parent: Node<'a>, gathered: &mut Gathered) -> Step<'a> {
        let is_left = parent
            .named_child(0)
            .is_some_and(|left| left.id() == node.id());
        let count = u32::try_from(parent.named_child_count()).unwrap_or(u32::MAX);
        let other = parent.named_child(if is_left { count.saturating_sub(1) } else { 0 });
        match operator(parent) {
            "or" | "||" | "??" | "?:" => {
                if is_left && let Some(other) = other {
                    gathered.falls_back(literal::of(self.content, other), line(other));
                }
                Step::Up(parent)
            }
            "and" | "&&" => Step::Up(parent),
            "+" | "." | ".." => self.concatenation(node, parent, is_left, gathered),
            "%" if !is_left => {
                self.formatted(other, Style::Percent, Which::At(0), line(node), gathered);
                Step::Stop
            }
            "==" | "===" | "!=" | "!==" | "is" | "is not" | "in" | "not in" | "eq" | "<>" => {
                match other {
                    Some(other) if is_nothing(self.text(other)) => Step::Up(parent),
                    Some(other) => {
                        if self.says_yes_or_no(other) {
                            gathered.add(UseKind::Boolean, ShownBy::Comparison, line(parent));
                        }
                        Step::Stop
                    }
                    None => Step::Stop,
                }
            }
            _ => Step::Stop,
        }
    }

    /// `"http://" + host + ":" + port`
    fn concatenation(
        &self,
        node: Node<'a>,
        parent: Node<'a>,
        is_left: bool,
        gathered: &mut Gathered,
    ) -> Step<'a> {
        let before = if is_left {
            Vec::new()
        } else {
            let left = parent.named_child(0).map(rightmost);
            self.end_of(left)
        };
        let after = if is_left {
            parent.named_child(1).map(|right| self.start_of(right))
        } else {
            // What follows stands beside the parent.
            let outer = parent
                .parent()
                .filter(|outer| matches!(operator(*outer), "+" | "."));
            outer
                .and_then(|outer| outer.named_child(1))
                .filter(|right| right.id() != parent.id())
                .map(|right| self.start_of(right))
        };
        let after = after.unwrap_or_default();
        let is_text = !before.is_empty() || !after.is_empty();
        if is_text && let Some(kind) = format::between(&before, &after) {
            gathered.add(kind, ShownBy::Format, line(node));
            return Step::Stop;
        }
        Step::Up(parent)
    }

    /// The text that an operand ends with, or a sign that something else stands there.
    fn end_of(&self, node: Option<Node<'a>>) -> Vec<u8> {
        let Some(node) = node else { return Vec::new() };
        literal::text(self.content, node).map_or_else(|| b"}".to_vec(), Into::into)
    }

    fn start_of(&self, node: Node<'a>) -> Vec<u8> {
        match literal::text(self.content, node) {
            // A lone colon is followed by the next operand.
            Some(text) if text == ":" => b":{".to_vec(),
            Some(text) => text.into(),
            None => b"{".to_vec(),
        }
    }

    fn conditional(&self, node: Node<'a>, parent: Node<'a>, gathered: &mut Gathered) -> Step<'a> {
        let condition = match (parent.child_by_field_name("condition"), self.language) {
            (Some(condition), _) => Some(condition),
            // `a if condition else b`
            (None, Language::Python) => parent.named_child(1),
            (None, _) => parent.named_child(0),
        };
        let is_condition = |one: Node<'_>| condition.is_some_and(|it| it.id() == one.id());
        let mut cursor = parent.walk();
        let branches: Vec<_> = parent
            .named_children(&mut cursor)
            .filter(|one| !is_condition(*one))
            .collect();
        let literals: Vec<_> = branches
            .iter()
            .filter_map(|branch| Some((literal::of(self.content, *branch)?, line(*branch))))
            .collect();
        match literals.as_slice() {
            [(default, at)] => {
                gathered.falls_back(Some(default.clone()), *at);
                Step::Up(parent)
            }
            [] if !is_condition(node) => Step::Up(parent),
            // The elvis operator of PHP: `a ?: b`.
            [] if branches.len() == 1 => {
                gathered.falls_back(None, line(parent));
                Step::Up(parent)
            }
            _ => Step::Stop,
        }
    }

    fn wrapped_argument(
        &self,
        node: Node<'a>,
        parent: Node<'a>,
        gathered: &mut Gathered,
    ) -> Step<'a> {
        if parent.named_child_count() > 1
            && parent
                .named_child(0)
                .is_some_and(|name| name.id() != node.id())
        {
            self.keyed(node, parent, gathered);
            return Step::Stop;
        }
        match parent.parent() {
            Some(list) => self.argument(parent, list, gathered),
            None => Step::Stop,
        }
    }

    fn argument(&self, node: Node<'a>, list: Node<'a>, gathered: &mut Gathered) -> Step<'a> {
        let Some(call) = list.parent() else {
            return Step::Stop;
        };
        let mut cursor = list.walk();
        let Some(position) = list
            .named_children(&mut cursor)
            .position(|one| one.id() == node.id())
        else {
            return Step::Stop;
        };
        let Some(function) = function_of(call) else {
            return Step::Stop;
        };
        let name = self.function_text(call, function);
        if let Some((text, style, which)) = self.format_call(call, list, name, position) {
            self.formatted(Some(text), style, which, line(node), gathered);
            return Step::Stop;
        }
        match calls::of_argument(name, position) {
            Effect::Converts(kind) => {
                gathered.add(kind, ShownBy::Conversion, line(call));
                Step::Up(call)
            }
            Effect::Takes(kind) => {
                gathered.add(kind, ShownBy::Argument, line(call));
                Step::Stop
            }
            Effect::Passes => Step::Up(call),
            _ => Step::Stop,
        }
    }

    /// The format of a call that puts values into a text, and which of them is meant.
    fn format_call(
        &self,
        call: Node<'a>,
        list: Node<'a>,
        name: &[u8],
        position: usize,
    ) -> Option<(Node<'a>, Style, Which<'a>)> {
        let last = calls::last_word(name);
        let receiver =
            receiver_of(call).filter(|node| literal::text(self.content, *node).is_some());
        if let Some(text) = receiver
            && matches!(last, b"format" | b"formatted")
        {
            let style = if self.language == Language::Python {
                Style::Braces
            } else {
                Style::Percent
            };
            return Some((text, style, Which::At(position)));
        }
        if !calls::is_format(last) {
            return None;
        }
        let mut cursor = list.walk();
        let arguments: Vec<_> = list.named_children(&mut cursor).collect();
        let at = arguments.iter().position(|one| {
            let inner = one
                .named_child(0)
                .filter(|_| matches!(one.kind(), "argument" | "value_argument"));
            literal::text(self.content, inner.unwrap_or(*one)).is_some()
        })?;
        let text = arguments.get(at)?;
        let inner = text
            .named_child(0)
            .filter(|_| matches!(text.kind(), "argument" | "value_argument"));
        let position = position.checked_sub(at + 1)?;
        Some((inner.unwrap_or(*text), Style::Percent, Which::At(position)))
    }

    fn formatted(
        &self,
        text: Option<Node<'a>>,
        style: Style,
        which: Which<'_>,
        line: usize,
        gathered: &mut Gathered,
    ) {
        let text = text.and_then(|text| literal::text(self.content, text));
        if let Some(kind) = text.and_then(|text| format::placed(&text, style, which)) {
            gathered.add(kind, ShownBy::Format, line);
        }
    }

    /// `"%s:%s" % (host, port)`
    fn tuple(&self, node: Node<'a>, tuple: Node<'a>, gathered: &mut Gathered) -> Step<'a> {
        let Some(parent) = tuple.parent().filter(|parent| operator(*parent) == "%") else {
            return Step::Stop;
        };
        let mut cursor = tuple.walk();
        if let Some(position) = tuple
            .named_children(&mut cursor)
            .position(|one| one.id() == node.id())
        {
            self.formatted(
                parent.named_child(0),
                Style::Percent,
                Which::At(position),
                line(node),
                gathered,
            );
        }
        Step::Stop
    }

    /// `format!("{}:{}", host, port)`: within a macro there are only tokens.
    fn macro_argument(&self, node: Node<'a>, tree: Node<'a>, gathered: &mut Gathered) -> Step<'a> {
        let mut cursor = tree.walk();
        let mut text = None;
        let mut commas = 0_usize;
        for child in tree.children(&mut cursor) {
            if child.id() == node.id() {
                break;
            }
            match child.kind() {
                "," if text.is_some() => commas += 1,
                "string_literal" if text.is_none() => text = Some(child),
                _ => {}
            }
        }
        if let Some(position) = commas.checked_sub(1) {
            self.formatted(
                text,
                Style::Braces,
                Which::At(position),
                line(node),
                gathered,
            );
        }
        Step::Stop
    }

    fn method(&self, node: Node<'a>, parent: Node<'a>, gathered: &mut Gathered) -> Step<'a> {
        // The value must be what the method is called on.
        if parent
            .named_child(0)
            .is_none_or(|receiver| receiver.id() != node.id())
        {
            return Step::Stop;
        }
        let Some(call) = calling(parent) else {
            return Step::Stop;
        };
        let function = function_of(call).map(|function| self.function_text(call, function));
        let name = function.unwrap_or_default();
        let arguments = call.child_by_field_name("arguments").or_else(|| {
            let mut cursor = call.walk();
            call.named_children(&mut cursor)
                .find(|child| child.kind() == "value_arguments")
        });
        let first = arguments.and_then(|list| list.named_child(0));
        match calls::of_method(name) {
            Effect::Converts(kind) => {
                gathered.add(kind, ShownBy::Conversion, line(call));
                Step::Up(call)
            }
            Effect::Defaults => {
                gathered.falls_back(
                    first.and_then(|first| literal::of(self.content, first)),
                    line(call),
                );
                Step::Up(call)
            }
            Effect::Raises => {
                gathered.raises = true;
                Step::Up(call)
            }
            Effect::Compares => {
                if first.is_some_and(|first| self.says_yes_or_no(first)) {
                    gathered.add(UseKind::Boolean, ShownBy::Comparison, line(call));
                }
                Step::Stop
            }
            Effect::Passes => Step::Up(call),
            Effect::Takes(_) | Effect::Nothing => Step::Stop,
        }
    }

    /// `port=VALUE`, `{ port: VALUE }`
    fn keyed(&self, node: Node<'a>, parent: Node<'a>, gathered: &mut Gathered) {
        let key = ["name", "key", "field"]
            .into_iter()
            .find_map(|field| parent.child_by_field_name(field));
        let Some(key) = key
            .or_else(|| parent.named_child(0))
            .filter(|key| key.id() != node.id())
        else {
            return;
        };
        let name = self.text(key);
        let name = name.trim_with(|character| "\"':".contains(character));
        gathered.binding(name, line(key));
        // `"{h}:{p}".format(p=port)`
        let call = parent.parent().and_then(|list| list.parent());
        if let Some(text) = call.and_then(receiver_of) {
            self.formatted(
                Some(text),
                Style::Braces,
                Which::Named(name),
                line(node),
                gathered,
            );
        }
    }

    /// A value within a text: what stands before and behind it.
    fn in_text(&self, node: Node<'a>, gathered: &mut Gathered) {
        let Some(text) = node.parent() else { return };
        let before = self
            .content
            .get(text.start_byte()..node.start_byte())
            .unwrap_or_default();
        let after = self
            .content
            .get(node.end_byte()..text.end_byte())
            .unwrap_or_default();
        // PHP's `{$name}`.
        let (before, after) = match (before.strip_suffix(b"{"), after.strip_prefix(b"}")) {
            (Some(before), Some(after)) if self.language == Language::Php => (before, after),
            _ => (before, after),
        };
        // The quote that opens, with what stands before it: f", """, $".
        let opening = before
            .iter()
            .take_while(|byte| !b"\"'`".contains(byte))
            .count();
        let inner = before.get(opening..).unwrap_or_default();
        let inner = inner.trim_start_with(|character| "\"'`".contains(character));
        let inner = if opening == before.len() {
            before
        } else {
            inner
        };
        if let Some(kind) = format::between(inner, after) {
            gathered.add(kind, ShownBy::Format, line(node));
        }
    }

    fn says_yes_or_no(&self, node: Node<'a>) -> bool {
        let is_one =
            |node| literal::of(self.content, node).is_some_and(|text: BString| is_yes_or_no(&text));
        let mut cursor = node.walk();
        is_one(node)
            || (matches!(
                node.kind(),
                "tuple" | "list" | "set" | "array" | "value_argument" | "argument"
            ) && node.named_children(&mut cursor).any(is_one))
    }

    /// What is called, with what it is called on when that is a name: `Integer.parseInt`.
    fn function_text(&self, call: Node<'a>, function: Node<'a>) -> &'a [u8] {
        let start = match call.kind() {
            "method_invocation" | "call" | "scoped_call_expression" => {
                let object = ["object", "receiver", "scope"]
                    .into_iter()
                    .find_map(|field| call.child_by_field_name(field));
                object.map_or(function.start_byte(), |object| object.start_byte())
            }
            _ => function.start_byte(),
        };
        self.content
            .get(start..function.end_byte())
            .unwrap_or_default()
    }

    fn text(&self, node: Node<'_>) -> &'a [u8] {
        self.content.get(node.byte_range()).unwrap_or_default()
    }
}

/// The variable that an assignment gives the value.
fn bound<'a>(node: Node<'a>, parent: Node<'a>) -> Step<'a> {
    let target = ["left", "name", "pattern"]
        .into_iter()
        .find_map(|field| parent.child_by_field_name(field))
        .or_else(|| parent.named_child(0));
    match target
        .filter(|target| target.id() != node.id())
        .and_then(name_in)
    {
        Some(name) => Step::Bound(name),
        None => Step::Stop,
    }
}

/// `host, port = A, B`: each value gets its own variable.
fn of_list<'a>(node: Node<'a>, list: Node<'a>) -> Step<'a> {
    let mut cursor = list.walk();
    let position = list
        .named_children(&mut cursor)
        .position(|one| one.id() == node.id())
        .and_then(|position| u32::try_from(position).ok());
    let target = list
        .parent()
        .and_then(|parent| parent.child_by_field_name("left"))
        .filter(|left| matches!(left.kind(), "expression_list" | "pattern_list"));
    match (target, position) {
        (Some(target), Some(position)) => match target.named_child(position).and_then(name_in) {
            Some(name) => Step::Bound(name),
            None => Step::Stop,
        },
        _ => Step::Up(list),
    }
}

fn is_nothing(text: &[u8]) -> bool {
    matches!(
        text,
        b"None" | b"null" | b"nil" | b"undefined" | b"\"\"" | b"''" | b"NULL" | b"false"
    )
}
