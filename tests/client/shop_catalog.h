// The catalog of shop.proto, as placement tells it.
#pragma once

#include <google/protobuf/descriptor.pb.h>
#include <gtest/gtest.h>

#include <optional>

#include "quorate/v1/node.pb.h"
#include "schema/catalog.h"
#include "schema/compile.h"
#include "schema/plan.h"
#include "tests/client/shop.pb.h"

namespace quorate::client {

// With the first message of shop.proto, applied to none.
inline v1::Catalog ShopCatalog() {
  google::protobuf::FileDescriptorSet set;
  shop::Account::descriptor()->file()->CopyTo(set.add_file());
  auto* messages = set.mutable_file(0)->mutable_message_type();
  while (messages->size() > 1) messages->RemoveLast();
  const schema::Compiled compiled = schema::Compile(set.SerializeAsString());
  EXPECT_TRUE(compiled.problems.empty()) << compiled.problems.list()[0].ToString();
  auto catalog = schema::Finished({}, schema::MakePlan({}, compiled));
  EXPECT_TRUE(catalog.ok()) << catalog.status().ToString();
  return *catalog;
}

inline v1::NodeResponse CatalogAnswer(const v1::Catalog& catalog, const v1::NodeRequest& request) {
  v1::NodeResponse response;
  v1::Catalog* answer = response.mutable_placement()->mutable_catalog();
  answer->set_version(catalog.version());
  for (const v1::TableDescriptor& table : catalog.tables()) {
    if (table.name() == request.placement().get_catalog().names(0)) *answer->add_tables() = table;
  }
  return response;
}

}  // namespace quorate::client
