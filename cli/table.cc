#include "cli/table.h"

#include <algorithm>

namespace quorate::cli {
namespace {

bool BeginsCharacter(char byte) { return (static_cast<unsigned char>(byte) & 0xc0) != 0x80; }

}  // namespace

size_t CharactersOf(std::string_view text) {
  return static_cast<size_t>(std::count_if(text.begin(), text.end(), BeginsCharacter));
}

std::string CutTo(std::string_view text, size_t width) {
  if (width == 0 || CharactersOf(text) <= width) return std::string(text);
  const std::string_view dots = std::string_view("...").substr(0, width);
  size_t kept = 0, end = 0;
  for (; end < text.size(); ++end) {
    if (BeginsCharacter(text[end]) && kept++ == width - dots.size()) break;
  }
  return std::string(text.substr(0, end)).append(dots);
}

std::string Table::Line(const std::vector<std::string>& cells,
                        const std::vector<size_t>& widths) const {
  std::string line;
  for (size_t i = 0; i < std::min(cells.size(), widths.size()); ++i) {
    const std::string cell = columns_[i].cut ? CutTo(cells[i], widths[i]) : cells[i];
    const std::string blanks(widths[i] - std::min(widths[i], CharactersOf(cell)), ' ');
    if (i > 0) line.append(kGap, ' ');
    line += columns_[i].align == Align::kLeft ? cell + blanks : blanks + cell;
  }
  line.erase(line.find_last_not_of(' ') + 1);
  return line + '\n';
}

std::string Table::Text(size_t width) const {
  std::vector<std::string> heads;
  std::vector<size_t> widths;
  size_t used = 0;
  for (size_t i = 0; i < columns_.size(); ++i) {
    size_t widest = CharactersOf(columns_[i].head);
    for (const auto& row : rows_) {
      if (i < row.size()) widest = std::max(widest, CharactersOf(row[i]));
    }
    const size_t begin = used + (i > 0 ? kGap : 0);
    if (width != 0 && i > 0 && begin + widest > width) {
      if (!columns_[i].cut || begin + kCutLeast > width) break;
      widest = width - begin;
    }
    heads.push_back(columns_[i].head);
    widths.push_back(widest);
    used = begin + widest;
  }
  std::string text = Line(heads, widths);
  for (const auto& row : rows_) text += Line(row, widths);
  return text;
}

}  // namespace quorate::cli
