#include "schema/message_diff.h"

#include <fmt/format.h>
#include <google/protobuf/descriptor.h>
#include <google/protobuf/descriptor.pb.h>

#include <algorithm>
#include <deque>
#include <map>
#include <set>
#include <tuple>
#include <utility>

#include "schema/fill.h"
#include "schema/limits.h"

namespace quorate::schema {
namespace {

namespace pb = google::protobuf;

constexpr size_t kPairsMax = 4 * kReachedMax;  // of messages, and of enums

std::string NameOf(const pb::FieldDescriptor& field) {
  return fmt::format("{} = {}", field.full_name(), field.number());
}

// "repeated string", "optional shop.Address", "map<string, int64>".
std::string TypeName(const pb::FieldDescriptor& field) {
  if (field.is_map()) {
    const pb::Descriptor& entry = *field.message_type();
    return fmt::format("map<{}, {}>", TypeName(*entry.map_key()), TypeName(*entry.map_value()));
  }
  std::string name = field.type_name();
  if (field.type() == pb::FieldDescriptor::TYPE_MESSAGE) name = field.message_type()->full_name();
  if (field.enum_type() != nullptr) name = field.enum_type()->full_name();
  return field.is_repeated() ? "repeated " + name : name;
}

using Ranges = std::vector<std::pair<int64_t, int64_t>>;  // [from, to), ascending, apart

Ranges Merged(Ranges ranges) {
  std::ranges::sort(ranges);
  Ranges merged;
  for (const auto& range : ranges) {
    if (!merged.empty() && range.first <= merged.back().second) {
      merged.back().second = std::max(merged.back().second, range.second);
    } else {
      merged.push_back(range);
    }
  }
  return merged;
}

Ranges ReservedOf(const pb::Descriptor& message) {
  Ranges ranges;
  for (int i = 0; i < message.reserved_range_count(); ++i) {
    ranges.emplace_back(message.reserved_range(i)->start, message.reserved_range(i)->end);
  }
  return Merged(std::move(ranges));
}
Ranges ReservedOf(const pb::EnumDescriptor& values) {  // whose ranges have their end in them
  Ranges ranges;
  for (int i = 0; i < values.reserved_range_count(); ++i) {
    ranges.emplace_back(values.reserved_range(i)->start,
                        int64_t{values.reserved_range(i)->end} + 1);
  }
  return Merged(std::move(ranges));
}
Ranges ExtensionsOf(const pb::Descriptor& message) {
  Ranges ranges;
  for (int i = 0; i < message.extension_range_count(); ++i) {
    ranges.emplace_back(message.extension_range(i)->start, message.extension_range(i)->end);
  }
  return Merged(std::move(ranges));
}

bool Has(const Ranges& ranges, int64_t number) {
  const auto behind = std::ranges::upper_bound(ranges, number, {}, &Ranges::value_type::first);
  return behind != ranges.begin() && number < std::prev(behind)->second;
}

// What of `before` is not in `after`.
Ranges Without(const Ranges& before, const Ranges& after) {
  Ranges left;
  auto taken = after.begin();
  for (auto [from, to] : before) {
    while (taken != after.end() && taken->second <= from) ++taken;
    for (auto at = taken; at != after.end() && at->first < to; ++at) {
      if (at->first > from) left.emplace_back(from, at->first);
      from = std::min(at->second, to);
    }
    if (from < to) left.emplace_back(from, to);
  }
  return left;
}

std::string TextOf(const std::pair<int64_t, int64_t>& range) {
  if (range.second == range.first + 1) return fmt::format("{}", range.first);
  return fmt::format("{} to {}", range.first, range.second - 1);
}

class Differ {
 public:
  MessageDiff Run(const pb::Descriptor& before, const pb::Descriptor& after) {
    root_ = &before;
    Queue(before, after);
    for (; !messages_.empty(); messages_.pop_front()) {
      Messages(*messages_.front().first, *messages_.front().second);
    }
    return std::move(diff_);
  }

 private:
  void Change(std::string line) {
    if (diff_.changes.size() == kDiffLinesMax) line = "and more";
    if (diff_.changes.size() <= kDiffLinesMax) diff_.changes.push_back(std::move(line));
  }
  void Refuse(std::string element, std::string reason, std::string fix) {
    if (diff_.refusals.size() > kDiffLinesMax) return;
    v1::Refusal refusal;
    refusal.set_element(std::move(element));
    refusal.set_reason(std::move(reason));
    refusal.set_fix(std::move(fix));
    if (diff_.refusals.size() == kDiffLinesMax) {
      refusal.Clear();
      refusal.set_reason("there are more");
      refusal.set_fix("mend those above first");
    }
    diff_.refusals.push_back(std::move(refusal));
  }

  void Queue(const pb::Descriptor& before, const pb::Descriptor& after) {
    if (pairs_.size() == kPairsMax) {
      if (!std::exchange(full_, true)) {
        Refuse("message " + before.full_name(), "too many messages are made into each other",
               "change fewer of them at a time");
      }
      return;
    }
    if (pairs_.emplace(&before, &after).second) messages_.emplace_back(&before, &after);
  }

  void Messages(const pb::Descriptor& before, const pb::Descriptor& after) {
    const bool entry = before.options().map_entry() && after.options().map_entry();
    if (before.full_name() != after.full_name() && !entry) {
      Change(fmt::format("rename message {} to {}", before.full_name(), after.full_name()));
    }
    if (before.file()->syntax() != after.file()->syntax()) {
      Change(fmt::format("message {}: {} before, {} now", after.full_name(),
                         pb::FileDescriptor::SyntaxName(before.file()->syntax()),
                         pb::FileDescriptor::SyntaxName(after.file()->syntax())));
    }
    for (int i = 0; i < before.field_count(); ++i) {
      const pb::FieldDescriptor& field = *before.field(i);
      const pb::FieldDescriptor* now = after.FindFieldByNumber(field.number());
      const pb::FieldDescriptor* named = after.FindFieldByName(field.name());
      if (named != nullptr && named->number() != field.number()) {
        Refuse("field " + NameOf(field),
               fmt::format("its number is {} now, and rows have it under {}", named->number(),
                           field.number()),
               fmt::format("give it number {} again, or give the new field another name",
                           field.number()));
      } else if (now != nullptr) {
        Fields(field, *now);
      } else {
        Gone(field, after);
      }
    }
    const Ranges reserved = ReservedOf(before), extensions = ExtensionsOf(before);
    for (int i = 0; i < after.field_count(); ++i) {
      const pb::FieldDescriptor& field = *after.field(i);
      if (before.FindFieldByNumber(field.number()) == nullptr) {
        Came(field, before, reserved, extensions);
      }
    }
    for (const auto& range : Without(reserved, ReservedOf(after))) {
      if (range.second == range.first + 1 &&
          after.FindFieldByNumber(static_cast<int>(range.first)) != nullptr) {
        continue;  // told as a number that is used again
      }
      Refuse("message " + after.full_name(),
             fmt::format("`reserved {};` is gone, and rows may have fields of that number",
                         TextOf(range)),
             fmt::format("write `reserved {};` again", TextOf(range)));
    }
    // To be known when somebody wants to use them.
    for (const auto& range : Without(ReservedOf(after), reserved)) {
      if (range.second == range.first + 1 &&
          before.FindFieldByNumber(static_cast<int>(range.first)) != nullptr) {
        continue;  // told as a field that is dropped
      }
      Change(fmt::format("reserve {} in message {}", TextOf(range), after.full_name()));
    }
    for (const auto& range : Without(ExtensionsOf(after), extensions)) {
      Change(fmt::format("leave {} in message {} to extensions", TextOf(range), after.full_name()));
    }
  }

  void Gone(const pb::FieldDescriptor& field, const pb::Descriptor& after) {
    const std::string element = "field " + NameOf(field);
    if (!Has(ReservedOf(after), field.number())) {
      return Refuse(
          element, "it is gone, and its number can be used again",
          fmt::format("write `reserved {};` in message {}", field.number(), after.full_name()));
    }
    if (field.is_required()) {
      return Refuse(element, "it is required, so binaries of before can read no row without it",
                    "keep it");
    }
    Change("drop field " + NameOf(field));
  }

  void Came(const pb::FieldDescriptor& field, const pb::Descriptor& before, const Ranges& reserved,
            const Ranges& extensions) {
    const std::string element = "field " + NameOf(field);
    if (Has(reserved, field.number())) {
      return Refuse(
          element,
          fmt::format("number {} is reserved: rows may have another field there", field.number()),
          "give it a number that was never used");
    }
    if (Has(extensions, field.number())) {
      return Refuse(
          element,
          fmt::format("number {} was free for extensions: rows may have one there", field.number()),
          "give it a number that was never used");
    }
    if (field.is_required()) {
      return Refuse(element, "it is required, and neither rows nor binaries of before have it",
                    "write `optional`, and not_null once every row has it");
    }
    if (before.FindFieldByName(field.name()) != nullptr) return;  // told where it is gone
    Change(fmt::format("add field {} ({})", NameOf(field), TypeName(field)));
  }

  void Fields(const pb::FieldDescriptor& before, const pb::FieldDescriptor& after) {
    const bool entry = before.containing_type()->options().map_entry();
    if (!SameShape(before, after)) return;
    if (!entry) Oneofs(before, after);
    if (before.name() != after.name() && !entry) {
      Change(fmt::format("rename field {} to {}", NameOf(before), after.name()));
    } else if (before.json_name() != after.json_name()) {
      Change(fmt::format("{}: in JSON it was {}, and is {}", NameOf(after), before.json_name(),
                         after.json_name()));
    }
    if (before.is_packed() != after.is_packed()) {
      Change(fmt::format("{}: {} now", NameOf(after), after.is_packed() ? "packed" : "not packed"));
    }
    if (before.is_required() != after.is_required()) {
      return Refuse("field " + NameOf(after),
                    after.is_required()
                        ? "it became required: rows and binaries of before may be without it"
                        : "it is no longer required: binaries of before can read no row without it",
                    after.is_required() ? "write `optional`, and not_null" : "keep `required`");
    }
    if (before.has_presence() != after.has_presence()) {
      Change(fmt::format("{}: absent and zero are {}", NameOf(after),
                         after.has_presence() ? "two things now" : "the same now"));
    }
    if (DefaultOf(before) != DefaultOf(after)) {
      Change(fmt::format("{}: default was {}, is {}", NameOf(after), DefaultOf(before),
                         DefaultOf(after)));
    }
    if (after.message_type() != nullptr) Queue(*before.message_type(), *after.message_type());
    if (after.enum_type() != nullptr) Enums(*before.enum_type(), *after.enum_type());
  }

  static std::string DefaultOf(const pb::FieldDescriptor& field) {
    if (!field.has_default_value()) return "none";
    pb::FieldDescriptorProto proto;
    field.CopyTo(&proto);
    return "\"" + proto.default_value() + "\"";
  }

  bool SameShape(const pb::FieldDescriptor& before, const pb::FieldDescriptor& after) {
    if (before.type() == after.type() && before.is_repeated() == after.is_repeated() &&
        before.is_map() == after.is_map()) {
      return true;
    }
    // Fills are of the row's own fields.
    const bool fillable = before.containing_type() == root_ && !before.is_repeated() &&
                          !after.is_repeated() && before.real_containing_oneof() == nullptr &&
                          Convertible(static_cast<v1::ColumnType>(before.type()),
                                      static_cast<v1::ColumnType>(after.type()));
    Refuse("field " + NameOf(before),
           fmt::format("its type was {}, and is {}", TypeName(before), TypeName(after)),
           fillable ? fmt::format("keep it, and add a new `optional` field with fill_from: \"{}\"",
                                  before.name())
                    : "keep it, add a new field, and let the service fill it");
    return false;
  }

  // Members of a oneof that the other version has, too.
  static std::set<int> Fellows(const pb::OneofDescriptor* oneof, const pb::Descriptor& other) {
    std::set<int> fellows;
    for (int i = 0; oneof != nullptr && i < oneof->field_count(); ++i) {
      const int number = oneof->field(i)->number();
      if (other.FindFieldByNumber(number) != nullptr) fellows.insert(number);
    }
    return fellows;
  }

  // Whether the fields that both versions have are together in the one as in the other. Null: a
  // field by itself.
  struct Together {
    bool same = false;
    bool left = false;
  };
  Together Compare(const pb::OneofDescriptor* before, const pb::OneofDescriptor* after,
                   const pb::Descriptor& in_before, const pb::Descriptor& in_after) {
    if (before == nullptr && after == nullptr) return {true, false};
    // Once per pair: a oneof may have all fields of a message.
    const auto [at, is_new] = oneofs_.try_emplace({before, after, &in_before, &in_after});
    if (!is_new) return at->second;
    const auto were = Fellows(before, in_after), are = Fellows(after, in_before);
    Together& together = at->second;
    together.left = are.size() < were.size();
    together.same = before != nullptr && after != nullptr ? were == are
                                                          : std::max(were.size(), are.size()) == 1;
    return together;
  }

  void Oneofs(const pb::FieldDescriptor& before, const pb::FieldDescriptor& after) {
    const Together together = Compare(before.real_containing_oneof(), after.real_containing_oneof(),
                                      *before.containing_type(), *after.containing_type());
    if (together.same) return;
    Refuse("field " + NameOf(after),
           together.left
               ? "it leaves a oneof: binaries of before drop it when they set another member"
               : "it joins others in a oneof: rows of before may have several of them",
           together.left ? "leave it in the oneof" : "leave it outside, or add a new member");
  }

  void Enums(const pb::EnumDescriptor& before, const pb::EnumDescriptor& after) {
    if (enums_.size() == kPairsMax || !enums_.emplace(&before, &after).second) return;
    if (before.full_name() != after.full_name()) {
      Change(fmt::format("rename enum {} to {}", before.full_name(), after.full_name()));
    }
    const Ranges reserved = ReservedOf(after), were_reserved = ReservedOf(before);
    for (int i = 0; i < before.value_count(); ++i) {
      const pb::EnumValueDescriptor& value = *before.value(i);
      const std::string element =
          fmt::format("enum value {} = {}", value.full_name(), value.number());
      const pb::EnumValueDescriptor* named = after.FindValueByName(value.name());
      if (named != nullptr && named->number() != value.number()) {
        Refuse(
            element,
            fmt::format("its number is {} now, and rows have {}", named->number(), value.number()),
            fmt::format("give it number {} again, or give the new value another name",
                        value.number()));
      } else if (named == nullptr && after.FindValueByNumber(value.number()) != nullptr) {
        if (&value == before.FindValueByNumber(value.number())) {  // not one of its aliases
          Change(fmt::format("rename {} to {}", element,
                             after.FindValueByNumber(value.number())->name()));
        }
      } else if (named == nullptr && !Has(reserved, value.number())) {
        Refuse(element, "it is gone, and its number can be used again",
               fmt::format("write `reserved {};` in enum {}", value.number(), after.full_name()));
      } else if (named == nullptr) {
        Change("drop " + element);
      }
    }
    for (int i = 0; i < after.value_count(); ++i) {
      const pb::EnumValueDescriptor& value = *after.value(i);
      const std::string element =
          fmt::format("enum value {} = {}", value.full_name(), value.number());
      if (Has(were_reserved, value.number())) {
        Refuse(
            element,
            fmt::format("number {} is reserved: rows may have another value there", value.number()),
            "give it a number that was never used");
      } else if (before.FindValueByNumber(value.number()) == nullptr &&
                 before.FindValueByName(value.name()) == nullptr) {
        Change("add " + element);
      }
    }
    for (const auto& range : Without(were_reserved, reserved)) {
      if (range.second == range.first + 1 &&
          after.FindValueByNumber(static_cast<int>(range.first)) != nullptr) {
        continue;
      }
      Refuse("enum " + after.full_name(), fmt::format("`reserved {};` is gone", TextOf(range)),
             fmt::format("write `reserved {};` again", TextOf(range)));
    }
    for (const auto& range : Without(reserved, were_reserved)) {
      if (range.second == range.first + 1 &&
          before.FindValueByNumber(static_cast<int>(range.first)) != nullptr) {
        continue;
      }
      Change(fmt::format("reserve {} in enum {}", TextOf(range), after.full_name()));
    }
  }

  MessageDiff diff_;
  bool full_ = false;
  const pb::Descriptor* root_ = nullptr;
  std::map<std::tuple<const void*, const void*, const void*, const void*>, Together> oneofs_;
  std::set<std::pair<const void*, const void*>> pairs_, enums_;
  std::deque<std::pair<const pb::Descriptor*, const pb::Descriptor*>> messages_;
};

}  // namespace

MessageDiff Diff(const pb::Descriptor& before, const pb::Descriptor& after) {
  return Differ().Run(before, after);
}

}  // namespace quorate::schema
