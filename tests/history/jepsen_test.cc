#include "tests/history/jepsen.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdio>
#include <fstream>
#include <set>
#include <sstream>

#include "tests/history/judge.h"

namespace quorate::history {
namespace {

using ::testing::HasSubstr;

edn::Value Read(std::string_view text) {
  edn::Reader reader(text);
  auto value = reader.Next();
  EXPECT_TRUE(value) << text << ": " << (reader.error() ? reader.error()->message : "end");
  return value.value_or(edn::Value{});
}

TEST(Edn, PrintsWhatItRead) {
  for (const char* text : {"nil", "true", "-12", "+", "1.5e3", "7/2", "12N", "99999999999999999999",
                           R"("a\"b\\c")", ":a/b", "sym.bol", "(1 (2) [])", "[:append 7 1]",
                           "{:a 1, :b {}}", "#{1 2}", R"(\newline)", R"(\()"}) {
    EXPECT_EQ(edn::Print(Read(text)), text);
  }
  EXPECT_EQ(edn::Print(Read("#jepsen.history.Op{:a #_ 2 1,;c\n:b #inst \"2020\"}")),
            "{:a 1, :b \"2020\"}");
}

TEST(Edn, SaysWhereTheTextIsWrong) {
  const auto error = [](std::string_view text) {
    edn::Reader reader(text);
    reader.EnterSequence();
    while (reader.Next()) {
    }
    const auto& found = reader.error();
    return found ? std::to_string(found->at.line) + ":" + std::to_string(found->at.column) + " " +
                       found->message
                 : "";
  };
  EXPECT_EQ(error("{:a\n 1} {:b}"), "2:5 a map with a key without a value");
  EXPECT_EQ(error("{:a\n  [1 2}"), "2:7 unexpected }");
  EXPECT_EQ(error("{:a (1"), "1:5 what opens here is not closed");
  EXPECT_EQ(error("{:a \"x"), "1:5 a string is not closed");
  EXPECT_EQ(error("[{} {}"), "1:7 the sequence does not end");
  EXPECT_EQ(error("[{}] {}"), "1:6 something stands behind the sequence");
  EXPECT_EQ(error("{: 1}"), "1:2 a keyword without a name");
  EXPECT_THAT(error("{" + std::string(100'000, '[')), HasSubstr("nested too deeply"));
  EXPECT_EQ(error(""), "");
}

std::string Error(Workload workload, std::string_view text) {
  const auto parsed = ParseJepsen(workload, text);
  const auto* error = std::get_if<edn::Error>(&parsed);
  return error == nullptr ? ""
                          : std::to_string(error->at.line) + ":" +
                                std::to_string(error->at.column) + " " + error->message;
}

TEST(Jepsen, SaysWhichOperationIsWrong) {
  const auto list = [](std::string_view text) { return Error(Workload::kListAppend, text); };
  EXPECT_EQ(list("7"), "1:1 an operation is a map");
  EXPECT_EQ(list("{:type :ok}"), "1:1 an operation has a :process and a :type");
  EXPECT_EQ(list("{:type :info :process :nemesis :f :start}"), "");
  EXPECT_EQ(list("\n{:type :ok :process 1 :f :txn :value []}"),
            "2:1 process 1 completes what it has not invoked");
  const std::string invoke = "{:type :invoke :process 1 :f :txn :value [[:append 1 2]]}\n";
  EXPECT_EQ(list(invoke + invoke), "2:1 process 1 invokes while its last operation runs");
  EXPECT_EQ(list(invoke + "{:type :maybe :process 1 :f :txn :value []}"),
            "2:8 a :type is :invoke, :ok, :fail or :info");
  EXPECT_EQ(list(invoke + "{:type :ok :process 1 :f :txn :value [[:r 1 7]]}"),
            "2:45 a read saw a collection or nil");
  EXPECT_EQ(list("{:type :invoke :process 1 :f 7 :value []}"), "1:30 an :f is a keyword");
  EXPECT_EQ(list("{:type :invoke :process 1 :f :txn :value [[:w 1 2]]}"),
            "1:43 the workload list-append has no such step");
  EXPECT_EQ(list("{:type :invoke :process 1 :f :txn :value [[:w 1]]}"),
            "1:43 a step is [what key value]");
  EXPECT_EQ(Error(Workload::kBank, "{:type :invoke :process 1 :f :add :value 1}"),
            "1:30 the workload bank has no :add");
  EXPECT_EQ(Error(Workload::kBank, "{:type :invoke :process 1 :value nil}"),
            "1:1 an operation has an :f, or steps for its :value");
  EXPECT_EQ(Error(Workload::kCounter, "{:type :invoke :process 1 :f :add :value 1.5}"),
            "1:42 what is added is an integer");
  EXPECT_EQ(Error(Workload::kRwRegister, "{:type :invoke :process 1 :value [[:w 1 nil]]}"),
            "1:41 nil is what a read sees before any write");
}

TEST(Jepsen, WritesWhatReadsSawOnlyOnceAcknowledged) {
  using Kind = MicroOp::Kind;
  const auto print = [](Workload workload, Outcome outcome, std::vector<MicroOp> ops) {
    const std::string text = PrintJepsen(workload, {{0, 1, 2, outcome, std::move(ops)}});
    return text.substr(text.find('\n') + 1);
  };
  const std::vector<MicroOp> list = {{Kind::kRead, "x", 0, {1, 2}, {}}};
  EXPECT_THAT(print(Workload::kListAppend, Outcome::kOk, list), HasSubstr("[:r x [1 2]]"));
  EXPECT_THAT(PrintJepsen(Workload::kListAppend, {{0, 1, 2, Outcome::kOk, list}}),
              HasSubstr(":type :invoke, :process 0, :f :txn, :value [[:r x nil]]"));
  for (const Outcome outcome : {Outcome::kUnknown, Outcome::kFail}) {
    EXPECT_THAT(print(Workload::kListAppend, outcome, list), HasSubstr("[[:r x nil]]"));
    EXPECT_THAT(print(Workload::kRwRegister, outcome, {{Kind::kRead, "x", 0, {}, 7}}),
                HasSubstr("[[:r x nil]]"));
    EXPECT_THAT(print(Workload::kSet, outcome, {{Kind::kRead, "it", 0, {1}, {}}}),
                HasSubstr(":f :read, :value nil"));
    EXPECT_THAT(print(Workload::kCounter, outcome, {{Kind::kRead, "it", 0, {}, 7}}),
                HasSubstr(":f :read, :value nil"));
    EXPECT_THAT(print(Workload::kBank, outcome, {{Kind::kRead, "a", 0, {}, 7}}),
                HasSubstr(":f :read, :value nil"));
  }
}

TEST(Jepsen, KeepsValuesAndKeysApartThatOnlyLookAlike) {
  const auto parsed = ParseJepsen(
      Workload::kRwRegister,
      "{:type :invoke :process 0 :value [[:w 7 1] [:w \"7\" \"1\"] [:w :a :a] [:w a a] [:w \"a\" "
      "\"a\"] [:w \"a b\" 1.0] [:w \"\\\"\" -9223372036854775808] [:w k 1N]]}");
  const auto* transactions = std::get_if<std::vector<Transaction>>(&parsed);
  ASSERT_NE(transactions, nullptr);
  std::set<std::string> keys;
  std::set<int64_t> values;
  for (const MicroOp& op : (*transactions)[0].ops) {
    keys.insert(op.key);
    values.insert(op.element);
  }
  EXPECT_EQ(keys.size(), 8u);
  EXPECT_EQ(values.size(), 8u);
  EXPECT_EQ(values.count(INT64_MIN), 0u);
  const std::string text = PrintJepsen(Workload::kRwRegister, *transactions);
  const auto again = ParseJepsen(Workload::kRwRegister, text);
  ASSERT_NE(std::get_if<std::vector<Transaction>>(&again), nullptr) << text;
  const auto& after = std::get<std::vector<Transaction>>(again)[0].ops;
  ASSERT_EQ(after.size(), 8u);
  for (size_t i = 0; i < after.size(); ++i) {
    EXPECT_EQ(after[i].key, (*transactions)[0].ops[i].key);
    EXPECT_EQ(after[i].element, (*transactions)[0].ops[i].element);
  }
}

TEST(Jepsen, KeepsOrderOutcomesAndKeysWhenWritten) {
  const std::vector<Transaction> before = {
      {1, 10, 20, Outcome::kOk, {{MicroOp::Kind::kWrite, "a b", 1, {}, {}}}},
      {1, 21, 0, Outcome::kUnknown, {{MicroOp::Kind::kWrite, "\"", 2, {}, {}}}},
      {1, 30, 35, Outcome::kFail, {{MicroOp::Kind::kWrite, "7", 3, {}, {}}}},
      {-1, 20, 31, Outcome::kOk, {{MicroOp::Kind::kRead, ":k", 0, {}, 5}}},
  };
  const std::string text = PrintJepsen(Workload::kRwRegister, before);
  const auto parsed = ParseJepsen(Workload::kRwRegister, text);
  const auto* after = std::get_if<std::vector<Transaction>>(&parsed);
  ASSERT_NE(after, nullptr) << text;
  ASSERT_EQ(after->size(), 4u);
  // By invocation: the last of `before` overlaps the first.
  const size_t order[] = {0, 3, 1, 2};
  for (size_t i = 0; i < 4; ++i) {
    const Transaction &a = before[order[i]], &b = (*after)[i];
    EXPECT_EQ(a.outcome, b.outcome);
    EXPECT_EQ(a.ops[0].key, b.ops[0].key);
    EXPECT_EQ(a.ops[0].element, b.ops[0].element);
    EXPECT_EQ(a.ops[0].value, b.ops[0].value);
  }
  EXPECT_GT((*after)[0].completed, (*after)[1].invoked);
  EXPECT_NE((*after)[2].process, (*after)[3].process);  // the unknown one may still run
  EXPECT_EQ(PrintJepsen(Workload::kRwRegister, *after), text);
}

int Judged(std::vector<std::string> arguments, std::string* out) {
  std::ostringstream output, errors;
  const int code = Judge(arguments, output, errors);
  *out = output.str() + errors.str();
  return code;
}

TEST(Program, ExitsByVerdict) {
  const std::string known = SCENARIO_DIR;
  std::string out;
  EXPECT_EQ(Judged({known + "/good-serial.edn"}, &out), kValid);
  EXPECT_THAT(out, HasSubstr("4 ok, 0 failed, 0 unknown"));
  EXPECT_EQ(Judged({known + "/write-skew.edn"}, &out), kAnomalies);
  EXPECT_THAT(out, HasSubstr("G2-item: (write skew)"));
  EXPECT_THAT(out, HasSubstr("T0 before T1: T0 read x up to the empty list and so did not see 1"));
  EXPECT_EQ(Judged({known + "/write-skew.edn", "--model", "snapshot-isolation"}, &out), kValid);
  EXPECT_THAT(out, HasSubstr("allowed by snapshot-isolation: G2-item"));
  EXPECT_EQ(Judged({known + "/bank-wrong-total.edn", "--workload", "bank"}, &out), kAnomalies);
  EXPECT_EQ(Judged({known + "/good-bank.edn", "--workload", "bank", "--total", "21"}, &out),
            kAnomalies);
}

TEST(Program, RefusesBadInput) {
  std::string out;
  EXPECT_EQ(Judged({}, &out), kBadInput);
  EXPECT_EQ(Judged({"/nowhere.edn"}, &out), kBadInput);
  EXPECT_EQ(Judged({"a", "--model", "best"}, &out), kBadInput);
  EXPECT_EQ(Judged({"a", "--workload", "best"}, &out), kBadInput);
  EXPECT_EQ(Judged({"a", "--total"}, &out), kBadInput);
  const std::string file = ::testing::TempDir() + "/quorate_bad_history.edn";
  std::ofstream(file) << "{:type :invoke, :process 0, :f :txn,\n :value 7}";
  EXPECT_EQ(Judged({file}, &out), kBadInput);
  EXPECT_THAT(out, HasSubstr("quorate_bad_history.edn:1:1: the :value of a transaction is a"));
  std::remove(file.c_str());
}

}  // namespace
}  // namespace quorate::history
