// Maps from texts to numbers for vocabularies, in three blocks of memory instead of a node and its overhead per text.
//
// A vocabulary of 152,000 tokens and as many merges takes 27 MB in two std::unordered_map, and 8 MB here. They offer
// what llama-vocab.cpp uses of std::unordered_map, and go through their texts from the last to the first: where several
// tokens could be, say, the end of a turn, llama.cpp takes the first it meets, and std::unordered_map mostly begins with
// what came last.

#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace edge_agent {

// Texts of two parts and a number each, found by both parts. Nothing is ever taken out.
class TextTable {
public:
    static constexpr size_t NONE = SIZE_MAX;  // one less than 0

    size_t size() const { return entries.size(); }

    size_t find(std::string_view first, std::string_view second) const {
        if (slots.empty()) {
            return NONE;
        }
        const uint64_t hash = hash_of(first, second);
        for (size_t at = hash & mask();; at = (at + 1) & mask()) {
            const uint32_t slot = slots[at];
            if (slot == 0) {
                return NONE;
            }
            if (slot >> INDEX_BITS == tag(hash)) {
                const size_t index = (slot & INDEX_MASK) - 1;
                if (this->first(index) == first && this->second(index) == second) {
                    return index;
                }
            }
        }
    }

    // For a text that is not there yet. Returns its index.
    size_t add(std::string_view first, std::string_view second, int32_t value) {
        const size_t end = text.size() + first.size() + second.size();
        if (entries.size() == INDEX_MASK || end > UINT32_MAX) {
            throw std::length_error("the vocabulary is too large");
        }
        if ((entries.size() + 1) * 4 > slots.size() * 3) {
            grow();
        }
        text.insert(text.end(), first.begin(), first.end());
        text.insert(text.end(), second.begin(), second.end());
        entries.push_back({ (uint32_t) (end - second.size()), (uint32_t) end, value });
        place(entries.size() - 1);
        return entries.size() - 1;
    }

    int32_t & value(size_t index) { return entries[index].value; }
    int32_t value(size_t index) const { return entries[index].value; }

    std::string_view first(size_t index) const { return part(index ? entries[index - 1].end : 0, entries[index].middle); }
    std::string_view second(size_t index) const { return part(entries[index].middle, entries[index].end); }

private:
    // In `text`: where the second part begins and where it ends. The first begins where the text before it ends.
    struct Entry {
        uint32_t middle;
        uint32_t end;
        int32_t value;
    };

    // A slot is 0, or the index of an entry and one, below 8 bits of the hash that spare most looks at other texts.
    static constexpr int INDEX_BITS = 24;
    static constexpr uint32_t INDEX_MASK = (1u << INDEX_BITS) - 1;

    std::vector<char> text;
    std::vector<Entry> entries;
    std::vector<uint32_t> slots;  // a power of two of them

    size_t mask() const { return slots.size() - 1; }

    static uint32_t tag(uint64_t hash) { return (uint32_t) (hash >> 56); }

    static uint64_t hash_of(std::string_view first, std::string_view second) {
        const std::hash<std::string_view> hash;
        const uint64_t mixed = ((uint64_t) hash(first) * 0x9e3779b97f4a7c15 ^ hash(second)) * 0xff51afd7ed558ccd;
        return mixed ^ mixed >> 32;
    }

    std::string_view part(size_t begin, size_t end) const { return { text.data() + begin, end - begin }; }

    void place(size_t index) {
        const uint64_t hash = hash_of(first(index), second(index));
        size_t at = hash & mask();
        while (slots[at] != 0) {
            at = (at + 1) & mask();
        }
        slots[at] = tag(hash) << INDEX_BITS | (uint32_t) (index + 1);
    }

    void grow() {
        slots.assign(slots.empty() ? 64 : 2 * slots.size(), 0);
        for (size_t index = 0; index < entries.size(); index++) {
            place(index);
        }
    }
};

// Positions in a map; `*at` is made anew each time, with `first` and `second` as a std::unordered_map has them.
template <typename Map> class TextIterator {
public:
    struct Arrow {
        typename Map::value_type value;
        const typename Map::value_type * operator->() const { return &value; }
    };

    TextIterator(const Map * map, size_t index) : map(map), index(index) {}

    typename Map::value_type operator*() const { return map->item(index); }
    Arrow operator->() const { return { map->item(index) }; }
    TextIterator & operator++() { index--; return *this; }  // from 0 to NONE
    bool operator==(const TextIterator & other) const { return index == other.index; }
    bool operator!=(const TextIterator & other) const { return index != other.index; }

private:
    const Map * map;
    size_t index;
};

// In the place of std::unordered_map<std::string, int32_t>.
class TextMap {
public:
    using value_type = std::pair<const std::string, int32_t>;
    using const_iterator = TextIterator<TextMap>;

    size_t size() const { return table.size(); }
    const_iterator begin() const { return { this, size() - 1 }; }
    const_iterator end() const { return { this, TextTable::NONE }; }
    size_t count(std::string_view text) const { return table.find(text, {}) != TextTable::NONE; }

    const_iterator find(std::string_view text) const {
        return { this, table.find(text, {}) };
    }

    int32_t at(std::string_view text) const {
        const size_t index = table.find(text, {});
        if (index == TextTable::NONE) {
            throw std::out_of_range("no such text in the vocabulary");
        }
        return table.value(index);
    }

    int32_t & operator[](std::string_view text) {
        const size_t index = table.find(text, {});
        return table.value(index == TextTable::NONE ? table.add(text, {}, 0) : index);
    }

    value_type item(size_t index) const { return { std::string(table.first(index)), table.value(index) }; }

private:
    TextTable table;
};

// In the place of std::unordered_map<std::pair<std::string, std::string>, int, ...>.
class TextPairMap {
public:
    using key_type = std::pair<std::string, std::string>;
    using value_type = std::pair<const key_type, int32_t>;
    using const_iterator = TextIterator<TextPairMap>;

    size_t size() const { return table.size(); }
    const_iterator begin() const { return { this, size() - 1 }; }
    const_iterator end() const { return { this, TextTable::NONE }; }

    const_iterator find(const key_type & pair) const {
        return { this, table.find(pair.first, pair.second) };
    }

    void emplace(const key_type & pair, int32_t value) {
        if (table.find(pair.first, pair.second) == TextTable::NONE) {
            table.add(pair.first, pair.second, value);
        }
    }

    value_type item(size_t index) const {
        return { { std::string(table.first(index)), std::string(table.second(index)) }, table.value(index) };
    }

private:
    TextTable table;
};

}  // namespace edge_agent
