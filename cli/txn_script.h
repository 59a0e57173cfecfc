// The language of `quorate txn`: one step per line, `#` begins a comment.
//
//   check KEY == VALUE     the transaction is done only if all checks hold
//   check KEY == absent
//   get KEY
//   put KEY VALUE
//   delete KEY
//   scan FROM TO
//
// A word may stand in double quotes, with \" \\ \n \t and \xNN in it; a blank or the line's end
// follows the closing one. Unquoted words end at a blank. Quote "absent" to mean the value. A
// byte-order mark of UTF-8 in front of it all is skipped. Checks look at the state before the
// transaction's own writes; gets and scans see the writes above them.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"

namespace quorate::cli {

struct TxnStep {
  enum class Kind : uint8_t { kCheck, kGet, kPut, kDelete, kScan };
  Kind kind = Kind::kGet;
  int line = 0;
  std::string key;                   // from, of a scan
  std::optional<std::string> value;  // check: nullopt means absent; to, of a scan
};

// At least one step. INVALID_ARGUMENT with the line's number, and the column (in bytes, from 1) of
// a word that is wrong in itself.
Result<std::vector<TxnStep>> ParseTxnScript(std::string_view text);

}  // namespace quorate::cli
