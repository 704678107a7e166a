#include "config/toml.h"

#include <cstdio>
#include <cstring>
#include <deque>
#include <new>
#include <string>
#include <string_view>
#include <vector>

#include <toml++/toml.h>

extern "C" {
#include "base/utf8.h"
}

/* Deques never move what they hold, so nodes may point at strings and at each other's arrays. */
struct toml_doc {
    toml_node root{};
    std::deque<std::string> strings;
    std::deque<std::vector<toml_node>> tables;
    size_t nodes = 0;
};

namespace
{

struct limit_reached {
    toml_error error;
};

void set_error(toml_error *error, toml::source_position at, std::string_view text)
{
    error->line = at.line;
    error->column = at.column;
    error->advice = nullptr;
    std::snprintf(error->text, sizeof(error->text), "%.*s", static_cast<int>(text.size()),
                  text.data());
}

/* The line with that number, without its end. */
std::string_view line_of(std::string_view text, uint32_t number)
{
    for (; number > 1; number--) {
        size_t end = text.find('\n');
        if (end == std::string_view::npos)
            return {};
        text.remove_prefix(end + 1);
    }
    return text.substr(0, text.find('\n'));
}

bool is_number(std::string_view word)
{
    size_t dots = 0;

    for (char c : word) {
        dots += c == '.' ? 1 : 0;
        if (std::strchr("0123456789+-_.", c) == nullptr)
            return false;
    }
    return dots < 2;
}

/* The parser says where it stopped; this is for what people write that are new to TOML. */
const char *advice_for(std::string_view line)
{
    size_t at = line.find('=');
    size_t quotes = 0;

    for (char c : line)
        quotes += c == '"' ? 1 : 0;
    if (quotes % 2 != 0)
        return "a quotation mark is missing in this line";
    if (quotes > 0 || at == std::string_view::npos)
        return nullptr;
    at = line.find_first_not_of(" \t[", at + 1);
    if (at == std::string_view::npos)
        return nullptr;
    std::string_view word = line.substr(at);
    word = word.substr(0, word.find_first_of(" \t\r,]#"));
    if (word.empty() || word[0] == '\'' || word[0] == '{' || is_number(word))
        return nullptr;
    return "write text in quotes, a number without a unit, and true or false in small letters";
}

[[noreturn]] void refuse(const toml::node &at, const char *text)
{
    limit_reached limit;

    set_error(&limit.error, at.source().begin, text);
    throw limit;
}

const char *keep(toml_doc *doc, std::string_view text)
{
    return doc->strings.emplace_back(text).c_str();
}

void convert(toml_doc *doc, toml_node *out, const toml::node &in, unsigned depth)
{
    if (++doc->nodes > TOML_NODES_MAX)
        refuse(in, "more than 50000 keys and values in one file");
    if (depth > TOML_DEPTH_MAX)
        refuse(in, "more than 16 tables and arrays inside each other");

    out->line = in.source().begin.line;
    out->column = in.source().begin.column;
    out->key_line = out->line;
    out->key_column = out->column;

    if (const toml::table *table = in.as_table()) {
        std::vector<toml_node> &children = doc->tables.emplace_back(table->size());
        size_t i = 0;

        out->type = TOML_TABLE;
        for (auto &&[key, value] : *table) {
            toml_node *child = &children[i++];
            convert(doc, child, value, depth + 1);
            child->key = keep(doc, key.str());
            child->key_line = key.source().begin.line;
            child->key_column = key.source().begin.column;
        }
        out->children = children.data();
        out->child_count = children.size();
    } else if (const toml::array *array = in.as_array()) {
        std::vector<toml_node> &children = doc->tables.emplace_back(array->size());
        size_t i = 0;

        out->type = TOML_ARRAY;
        for (const toml::node &value : *array)
            convert(doc, &children[i++], value, depth + 1);
        out->children = children.data();
        out->child_count = children.size();
    } else if (const auto *string = in.as_string()) {
        out->type = TOML_STRING;
        out->string = keep(doc, string->get());
        out->string_len = string->get().size();
    } else if (const auto *integer = in.as_integer()) {
        out->type = TOML_INTEGER;
        out->integer = integer->get();
    } else if (const auto *real = in.as_floating_point()) {
        out->type = TOML_FLOAT;
        out->real = real->get();
    } else if (const auto *boolean = in.as_boolean()) {
        out->type = TOML_BOOLEAN;
        out->boolean = boolean->get();
    } else {
        out->type = TOML_DATE;
    }
}

/*
 * What the parser does not do itself: it sets no bound on dotted keys, though it frees nested
 * tables by recursion, and it reports invalid UTF-8 without the place.
 */
enum err check_text(std::string_view text, toml_error *error)
{
    uint32_t line = 1;
    uint32_t column = 1;
    size_t line_start = 0;

    if (text.size() > TOML_TEXT_MAX) {
        set_error(error, {0, 0}, "larger than 1 MiB");
        return ERR_TOO_LARGE;
    }
    for (size_t at = 0; at < text.size();) {
        uint32_t value;
        size_t n = utf8_next(text.data() + at, text.size() - at, &value);

        if (n == 0) {
            set_error(error, {line, column}, "not UTF-8");
            return ERR_CONFIG;
        }
        at += n;
        column++;
        if (value == '\n') {
            line++;
            column = 1;
            line_start = at;
        } else if (at - line_start > TOML_LINE_MAX) {
            set_error(error, {line, 1}, "a line of more than 8192 bytes");
            return ERR_TOO_LARGE;
        }
    }
    return ERR_OK;
}

} // namespace

extern "C" enum err toml_parse(struct toml_doc **out, const char *text, size_t len,
                               struct toml_error *error)
{
    toml_doc *doc = nullptr;

    *out = nullptr;
    std::memset(error, 0, sizeof(*error));
    enum err e = check_text({text, len}, error);
    if (e != ERR_OK)
        return e;
    try {
        doc = new toml_doc;
        const toml::table table = toml::parse(std::string_view{text, len});
        convert(doc, &doc->root, table, 0);
        *out = doc;
        doc = nullptr;
    } catch (const toml::parse_error &refused) {
        set_error(error, refused.source().begin, refused.description());
        error->advice = advice_for(line_of({text, len}, error->line));
        e = ERR_CONFIG;
    } catch (const limit_reached &limit) {
        *error = limit.error;
        e = ERR_TOO_LARGE;
    } catch (const std::bad_alloc &) {
        set_error(error, {0, 0}, "out of memory");
        e = ERR_NOMEM;
    } catch (...) {
        set_error(error, {0, 0}, "not TOML");
        e = ERR_CONFIG;
    }
    delete doc;
    return e;
}

extern "C" const struct toml_node *toml_root(const struct toml_doc *doc)
{
    return &doc->root;
}

extern "C" const struct toml_node *toml_find(const struct toml_node *table, const char *key)
{
    for (size_t i = 0; i < table->child_count; i++) {
        const toml_node *child = &table->children[i];

        if (child->key != nullptr && std::strcmp(child->key, key) == 0)
            return child;
    }
    return nullptr;
}

extern "C" const char *toml_type_name(enum toml_type type)
{
    switch (type) {
    case TOML_TABLE:
        return "a table";
    case TOML_ARRAY:
        return "an array";
    case TOML_STRING:
        return "a string";
    case TOML_INTEGER:
        return "an integer";
    case TOML_FLOAT:
        return "a floating-point number";
    case TOML_BOOLEAN:
        return "a boolean";
    case TOML_DATE:
        return "a date or time";
    }
    return "a value";
}

extern "C" void toml_free(struct toml_doc *doc)
{
    delete doc;
}
